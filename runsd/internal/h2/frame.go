package h2

import (
	"encoding/binary"
	"fmt"
)

// Frames, RFC 9113 section 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameRSTStream    = 0x3
	frameSettings     = 0x4
	framePushPromise  = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagEndStream  = 0x1 // DATA, HEADERS
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	frameHead     = 9
	minMaxFrame   = 16 << 10
	maxMaxFrame   = 1<<24 - 1
	defaultWindow = 1<<16 - 1
	maxWindow     = 1<<31 - 1
	maxStreamID   = 1<<31 - 1
)

// Settings, RFC 9113 section 6.5.2.
const (
	settingHeaderTable   = 0x1
	settingEnablePush    = 0x2
	settingMaxStreams    = 0x3
	settingInitialWindow = 0x4
	settingMaxFrame      = 0x5
	settingMaxHeaderList = 0x6
)

// An errCode is one of RFC 9113 section 7.
type errCode uint32

const (
	errNone            errCode = 0x0
	errProtocol        errCode = 0x1
	errFlowControl     errCode = 0x3
	errFrameSize       errCode = 0x6
	errRefused         errCode = 0x7
	errCancel          errCode = 0x8
	errCompression     errCode = 0x9
	errEnhanceYourCalm errCode = 0xb
)

var errNames = [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"}

func (e errCode) String() string {
	if int(e) < len(errNames) {
		return errNames[e]
	}
	return fmt.Sprintf("error %#x", uint32(e))
}

type setting struct {
	id    uint16
	value uint32
}

func appendFrameHead(b []byte, length int, kind, flags byte, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags)
	return binary.BigEndian.AppendUint32(b, stream)
}

func appendSettings(b []byte, settings ...setting) []byte {
	b = appendFrameHead(b, 6*len(settings), frameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, s.id)
		b = binary.BigEndian.AppendUint32(b, s.value)
	}
	return b
}

func appendSettingsAck(b []byte) []byte { return appendFrameHead(b, 0, frameSettings, flagAck, 0) }

func appendWindowUpdate(b []byte, stream uint32, by int) []byte {
	b = appendFrameHead(b, 4, frameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(by))
}

func appendRST(b []byte, stream uint32, code errCode) []byte {
	b = appendFrameHead(b, 4, frameRSTStream, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendPing(b []byte, ack bool, data [8]byte) []byte {
	flags := byte(0)
	if ack {
		flags = flagAck
	}
	b = appendFrameHead(b, 8, framePing, flags, 0)
	return append(b, data[:]...)
}

func appendGoAway(b []byte, last uint32, code errCode) []byte {
	b = appendFrameHead(b, 8, frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// appendHeaders appends a block of header fields in as many frames as it takes.
func appendHeaders(b []byte, stream uint32, block []byte, maxFrame int, endStream bool) []byte {
	kind, flags := byte(frameHeaders), byte(0)
	if endStream {
		flags = flagEndStream
	}
	for {
		n := min(len(block), maxFrame)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		b = appendFrameHead(b, n, kind, flags, stream)
		b = append(b, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return b
		}
		kind, flags = frameContinuation, 0
	}
}

// appendData appends data in as many frames as it takes.
func appendData(b []byte, stream uint32, data []byte, maxFrame int, endStream bool) []byte {
	for {
		n := min(len(data), maxFrame)
		flags := byte(0)
		if endStream && n == len(data) {
			flags = flagEndStream
		}
		b = appendFrameHead(b, n, frameData, flags, stream)
		b = append(b, data[:n]...)
		if data = data[n:]; len(data) == 0 {
			return b
		}
	}
}
