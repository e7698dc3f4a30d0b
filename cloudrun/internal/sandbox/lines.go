package sandbox

import (
	"bytes"
	"io"
	"sync"
)

// maxLine is the longest line that is written in one piece.
const maxLine = 1 << 20

// copyLines writes to w what it reads from r, a line at a time and holding mu,
// until r ends. It reads on when w takes no more: a full pipe would stop the app.
func copyLines(mu *sync.Mutex, w io.Writer, r io.Reader) {
	write := func(line []byte) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = w.Write(line)
	}
	buf := make([]byte, 0, 16<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), maxLine)])
		seen := len(buf)
		buf = buf[:seen+n]
		start := 0
		for {
			i := bytes.IndexByte(buf[seen:], '\n')
			if i < 0 {
				break
			}
			seen += i + 1
			write(buf[start:seen])
			start = seen
		}
		if len(buf)-start == maxLine || err != nil && start < len(buf) {
			write(buf[start:])
			start = len(buf)
		}
		if err != nil {
			return
		}
		buf = buf[:copy(buf, buf[start:])]
	}
}
