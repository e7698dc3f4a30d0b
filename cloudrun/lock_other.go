//go:build !unix

package main

// lock keeps a folder for this process: where there are no sandboxes, nobody
// comes to it.
func lock(string) (unlock func(), err error) { return func() {}, nil }
