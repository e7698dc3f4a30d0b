// Package lists has arrays and slices, nested and named.
package lists

type Service interface{ Echo(Lists) Lists }

type Lists struct {
	Texts   []string
	Nested  [][]int
	Array   [3]bool
	Arrays  [2][2]Item
	Items   []Item
	Maybes  []*Item
	Matrix  Matrix
	Forest  Forest
	Nothing [0]int
}

type Item struct{ Name string }

// Matrix is a named list.
type Matrix [][]float64

// Forest is a list of itself.
type Forest []Forest
