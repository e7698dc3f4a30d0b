package supervise

import "syscall"

// lastSignal is the last real-time signal, SIGRTMAX.
const lastSignal = syscall.Signal(64)
