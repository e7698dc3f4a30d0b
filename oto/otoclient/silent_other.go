//go:build !unix || aix

package otoclient

import "syscall"

// available says that all goes over net/http: see silent_unix.go.
const available = false

func isSilent(syscall.RawConn) bool { return false }
