// Runsd starts a container's app with Cloud Run service discovery around it.
//
//	ENTRYPOINT ["/runsd", "--", "/app"]
//
// While the app runs, http://tacoserver reaches the Cloud Run service tacoserver
// of the same project, over HTTPS and with an identity token attached. When the
// app exits, runsd exits with the app's status, 128+n if signal n ended it.
//
// With root, runsd answers DNS and HTTP on loopback and points resolv.conf at
// itself, so that every program in the container is served. Without, it is the
// app's HTTP proxy. One line on stderr says which way it took and why. Off Cloud
// Run it only runs the app.
//
// See README.md for flags, environment and limits.
package main

import (
	"context"
	"os"
	"runtime/debug"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version string

func main() {
	// With a heap this small the default collects some 30 times a second under
	// load; memory stays under 20 MB.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(125)
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stderr))
}

// versionString is what the build says, else the module's version, else dev.
func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
