package otohttp

import (
	"bufio"
	"compress/gzip"
	"io"
	"sync"
)

// gzipFrom is the size from which on an answer is packed. Below, the bytes saved
// fit into the same packet anyway.
const gzipFrom = 1 << 10

// gzipWriters holds writers at BestSpeed. A new one costs about 0.8 MB.
var gzipWriters = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is known to be one
	}
	return w
}}

// pack replaces what b holds by the same packed with gzip.
func pack(b *buffer) error {
	packed := getBuffer()
	w := gzipWriters.Get().(*gzip.Writer)
	w.Reset(packed)
	_, err := w.Write(b.data)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	w.Reset(io.Discard) // lets go of packed
	gzipWriters.Put(w)
	if err == nil {
		b.data, packed.data = packed.data, b.data
	}
	putBuffer(packed)
	return err
}

// gzipReader is a gzip.Reader with the bufio.Reader that it would make anew at
// every Reset.
type gzipReader struct {
	packed bufio.Reader
	gzip.Reader
}

var gzipReaders = sync.Pool{New: func() any { return new(gzipReader) }}

// gzipError is an error that the packed form of a body has, rather than the
// connection that it comes by.
type gzipError struct{ err error }

func (e *gzipError) Error() string { return "unpack: " + e.err.Error() }
func (e *gzipError) Unwrap() error { return e.err }

// unpack reads src, packed with gzip, into the empty buffer b. Of what comes out
// it takes limit bytes at most; a source of more ends in errTooLong.
func unpack(b *buffer, src io.Reader, limit int64) error {
	source := &sourceReader{src: src}
	r := gzipReaders.Get().(*gzipReader)
	r.packed.Reset(source)
	err := r.Reset(&r.packed)
	if err == nil {
		err = b.readAll(r, -1, limit)
	} else if err == io.EOF {
		err = nil // nothing at all, which is unmarshal's to refuse
	}
	r.packed.Reset(nil) // lets go of src
	gzipReaders.Put(r)
	if source.err != nil && source.err != io.EOF {
		return source.err
	}
	if err != nil && err != errTooLong {
		return &gzipError{err}
	}
	return err
}

// sourceReader keeps the error of the reader it is made of, which can't be told
// from the packed form's own by the time it comes out of a gzip.Reader.
type sourceReader struct {
	src io.Reader
	err error
}

func (r *sourceReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	if err != nil {
		r.err = err
	}
	return n, err
}
