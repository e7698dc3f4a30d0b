//go:build unix

package bolt

import "os"

// syncDir makes the name of a new file as durable as what is in it.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
