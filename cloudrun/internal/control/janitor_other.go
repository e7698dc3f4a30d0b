//go:build !unix

package control

import (
	"io/fs"
	"os"
)

// removeAtEnd removes dir when close is called.
func removeAtEnd(dir string) (close func(), err error) {
	return func() { os.RemoveAll(dir) }, nil
}

func ownedByUs(fs.FileInfo) bool { return true }
