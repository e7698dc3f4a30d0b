// Package recursive has types that contain themselves and each other.
package recursive

type Service interface {
	Tree(Node) Node
	Mutual(Chicken) Chicken
}

type Node struct {
	Left, Right *Node
	Children    []Node
	ByName      map[string]Node
}

type Chicken struct{ Eggs []Egg }

type Egg struct{ Mother *Chicken }
