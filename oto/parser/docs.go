package parser

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

// docOf returns the comment of what declares obj. In a foreign package that is
// looked up in the source by its key: Type, Type.Field or Constant.
func (r *resolver) docOf(obj types.Object, key string) *ast.CommentGroup {
	if r.b.scanned[obj.Pkg()] != nil {
		return r.b.comments[obj.Pos()]
	}
	file := r.b.sourceFile(obj)
	docs, ok := r.docs[file]
	if !ok {
		docs = fileDocs(file)
		if r.docs == nil {
			r.docs = make(map[string]map[string]*ast.CommentGroup)
		}
		r.docs[file] = docs
	}
	return docs[key]
}

// sourceFile returns the file that declares obj, an object of a foreign package.
// Export data of the standard library has its files below $GOROOT.
func (b *builder) sourceFile(obj types.Object) string {
	file := b.position(obj.Pos()).Filename
	below, ok := strings.CutPrefix(file, "$GOROOT")
	if !ok {
		return file
	}
	for _, pkg := range b.scanned {
		for _, imported := range pkg.Imports {
			if len(imported.GoFiles) > 0 && imported.Module == nil && isStandard(imported.PkgPath) {
				src := strings.TrimSuffix(filepath.Dir(imported.GoFiles[0]), filepath.FromSlash(imported.PkgPath))
				return filepath.Join(src, "..", filepath.FromSlash(below))
			}
		}
	}
	return ""
}

// isStandard says whether an import path is the standard library's.
func isStandard(path string) bool {
	host, _, _ := strings.Cut(path, "/")
	return !strings.Contains(host, ".")
}

// inModule says whether a package is of the definition's module.
func (b *builder) inModule(path string) bool {
	for _, pkg := range b.scanned {
		if pkg.PkgPath == path || pkg.Module != nil && (path == pkg.Module.Path || strings.HasPrefix(path, pkg.Module.Path+"/")) {
			return true
		}
	}
	return false
}

// fileDocs returns the comments in a file by what they are of. Without the file
// there are none.
func fileDocs(name string) map[string]*ast.CommentGroup {
	docs := make(map[string]*ast.CommentGroup)
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return docs
	}
	for _, decl := range file.Decls {
		visitDocs(decl, func(key string, _ token.Pos, doc *ast.CommentGroup) { docs[key] = doc })
	}
	return docs
}

// indexComments notes the comments of a scanned package's types, fields and
// constants by where their names are.
func (b *builder) indexComments(pkg *packages.Package) {
	for _, file := range pkg.Syntax {
		for _, decl := range file.Decls {
			visitDocs(decl, func(_ string, pos token.Pos, doc *ast.CommentGroup) { b.comments[pos] = doc })
		}
	}
}

// visitDocs calls visit for each type, field and constant of a declaration that
// has a comment.
func visitDocs(decl ast.Decl, visit func(key string, pos token.Pos, doc *ast.CommentGroup)) {
	group, ok := decl.(*ast.GenDecl)
	if !ok {
		return
	}
	first := func(docs ...*ast.CommentGroup) *ast.CommentGroup {
		for _, doc := range docs {
			if doc != nil {
				return doc
			}
		}
		return nil
	}
	alone := group.Doc
	if group.Lparen.IsValid() && group.Tok == token.CONST {
		alone = nil // it is of the group
	}
	for _, spec := range group.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			visit(spec.Name.Name, spec.Name.Pos(), first(spec.Doc, alone))
			visitFields(spec.Name.Name, spec.Type, visit)
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				visit(name.Name, name.Pos(), first(spec.Doc, alone, spec.Comment))
			}
		}
	}
}

func visitFields(owner string, expr ast.Expr, visit func(string, token.Pos, *ast.CommentGroup)) {
	ast.Inspect(expr, func(n ast.Node) bool {
		s, ok := n.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range s.Fields.List {
			for _, name := range field.Names {
				visit(owner+"."+name.Name, name.Pos(), field.Doc)
				visitFields(owner+"."+name.Name, field.Type, visit)
			}
			if len(field.Names) == 0 {
				if name := embeddedName(field.Type); name != nil {
					visit(owner+"."+name.Name, name.Pos(), field.Doc)
				}
			}
		}
		return false
	})
}

// embeddedName returns the name that an embedded field goes by.
func embeddedName(expr ast.Expr) *ast.Ident {
	switch expr := expr.(type) {
	case *ast.Ident:
		return expr
	case *ast.StarExpr:
		return embeddedName(expr.X)
	case *ast.SelectorExpr:
		return expr.Sel
	case *ast.IndexExpr:
		return embeddedName(expr.X)
	case *ast.IndexListExpr:
		return embeddedName(expr.X)
	}
	return nil
}
