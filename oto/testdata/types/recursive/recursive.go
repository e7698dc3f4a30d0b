// Package recursive has types that contain themselves and each other.
package recursive

type Service interface {
	Tree(Node) Node
	Mutual(Chicken) Chicken
	Shelves(Shelves) Shelves
}

type Node struct {
	Left, Right *Node
	Children    []Node
	ByName      map[string]Node
}

type Chicken struct{ Eggs []Egg }

type Egg struct{ Mother *Chicken }

// Shelves are lists, maps and objects in each other, of which the maps can't be
// decoded by generated code, since there is any in what they hold.
type Shelves struct {
	Rooms Rooms
	Shelf Shelf
}

type Rooms map[string]Shelf

type Shelf struct {
	Houses Houses
	Any    any
}

type Houses []Rooms
