//go:build !unix

package control

import "io/fs"

// removeAtEnd removes dir when close is called.
func removeAtEnd(dir string) (close func(), err error) {
	return func() { removeDir(dir) }, nil
}

func ownedByUs(fs.FileInfo) bool { return true }
