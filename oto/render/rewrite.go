package render

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"unsafe"

	"github.com/gobuffalo/plush/v4"
	"github.com/gobuffalo/plush/v4/ast"
)

// plush walks maps in random order, which would give another text at each run,
// and lets a function call itself until the stack is gone, which ends the
// process. Both are mended in the parsed template: a loop
//
//	for (k, v) in x { ... }
//
// becomes
//
//	for (oto:k, oto:v) in sorted(x) { let k = key(oto:k, oto:v); let v = value(oto:k, oto:v); ... }
//
// and each function starts with a check of the depth. The names can't clash with
// a template's: a colon is no part of an identifier.
const (
	loopKeyName   = "oto:k"
	loopValueName = "oto:v"
	sortedHelper  = "oto:sorted"
	keyHelper     = "oto:key"
	valueHelper   = "oto:value"
	depthHelper   = "oto:depth"
)

// entry is one entry of a map.
type entry struct{ key, value any }

// sorted returns the entries of a map by key, and anything else as it is.
func sorted(v any) any {
	m := reflect.Indirect(reflect.ValueOf(v))
	if m.Kind() != reflect.Map {
		return v
	}
	entries := make([]entry, 0, m.Len())
	for iter := m.MapRange(); iter.Next(); {
		entries = append(entries, entry{iter.Key().Interface(), iter.Value().Interface()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return compareKeys(a.key, b.key) })
	return entries
}

func compareKeys(a, b any) int {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	switch {
	case x.CanInt() && y.CanInt():
		return cmp.Compare(x.Int(), y.Int())
	case x.CanFloat() && y.CanFloat():
		return cmp.Compare(x.Float(), y.Float())
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

func loopKey(key, value any) any {
	if e, ok := value.(entry); ok {
		return e.key
	}
	return key
}

func loopValue(_, value any) any {
	if e, ok := value.(entry); ok {
		return e.value
	}
	return value
}

// maxDepth is how many calls of Go deep a template may go: some 500 of its own
// functions. The stack would hold more, but each costs plush more than the last.
const maxDepth = 5_000

// depthCheck returns the check of one rendering. Measuring the depth takes time,
// so it is done at every tenth call.
func depthCheck() func() error {
	calls := 0
	return func() error {
		var pc [1]uintptr
		if calls++; calls%10 == 0 && runtime.Callers(maxDepth, pc[:]) > 0 {
			return errors.New("the function calls itself without end")
		}
		return nil
	}
}

// rewrite puts the mends into a parsed template.
func rewrite(t *plush.Template) error {
	field := reflect.ValueOf(t).Elem().FieldByName("program")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*ast.Program]() {
		return errors.New("this version of plush keeps its program elsewhere")
	}
	program := *(**ast.Program)(unsafe.Pointer(field.UnsafeAddr()))
	walk(reflect.ValueOf(program), make(map[any]bool))
	return nil
}

// walk visits all nodes below v, each once: a template's tree has cycles.
func walk(v reflect.Value, seen map[any]bool) {
	switch v.Kind() {
	case reflect.Interface:
		walk(v.Elem(), seen)
	case reflect.Pointer:
		if v.IsNil() || seen[v.Interface()] {
			return
		}
		seen[v.Interface()] = true
		walk(v.Elem(), seen)
		switch node := v.Interface().(type) {
		case *ast.ForExpression:
			sortLoop(node)
		case *ast.FunctionLiteral:
			checkFunction(node)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			walk(field, seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), seen)
		}
	case reflect.Map:
		for iter := v.MapRange(); iter.Next(); {
			walk(iter.Key(), seen)
			walk(iter.Value(), seen)
		}
	}
}

func sortLoop(loop *ast.ForExpression) {
	if loop.Block == nil || loop.Iterable == nil {
		return
	}
	at := loop.TokenAble
	name := func(s string) *ast.Identifier { return &ast.Identifier{TokenAble: at, Value: s} }
	let := func(variable, helper string) ast.Statement {
		return &ast.LetStatement{TokenAble: at, Name: name(variable), Value: &ast.CallExpression{
			TokenAble: at,
			Function:  name(helper),
			Arguments: []ast.Expression{name(loopKeyName), name(loopValueName)},
		}}
	}
	loop.Block.Statements = append([]ast.Statement{
		let(loop.KeyName, keyHelper),
		let(loop.ValueName, valueHelper),
	}, loop.Block.Statements...)
	loop.KeyName, loop.ValueName = loopKeyName, loopValueName
	loop.Iterable = &ast.CallExpression{
		TokenAble: at,
		Function:  name(sortedHelper),
		Arguments: []ast.Expression{loop.Iterable},
	}
}

func checkFunction(fn *ast.FunctionLiteral) {
	if fn.Block == nil {
		return
	}
	at := fn.TokenAble
	check := &ast.ExpressionStatement{TokenAble: at, Expression: &ast.CallExpression{
		TokenAble: at,
		Function:  &ast.Identifier{TokenAble: at, Value: depthHelper},
	}}
	fn.Block.Statements = append([]ast.Statement{check}, fn.Block.Statements...)
}
