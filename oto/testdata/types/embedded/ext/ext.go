// Package ext is beside the definition.
package ext

// Tracked is embedded elsewhere.
type Tracked struct {
	// Revision has no name of its own in JSON: it is Go's.
	Revision int
	Author   string `json:"author"`
}
