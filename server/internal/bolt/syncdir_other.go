//go:build !unix

package bolt

// syncDir has nothing to do: there is no way to have a folder written.
func syncDir(string) error { return nil }
