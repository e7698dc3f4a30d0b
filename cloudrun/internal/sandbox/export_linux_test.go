package sandbox

// CopyRoot has a container's Root copied, as on a kernel that has no overlays for a
// user namespace.
func CopyRoot(s *Spec) { s.copyRoot = true }
