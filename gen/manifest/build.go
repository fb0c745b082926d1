package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
)

// buildID returns the build ID of this program, which the Go linker derives from all inputs. Without one, it returns
// the version of the executable file.
var buildID = sync.OnceValues(func() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 32<<10)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	for _, id := range [][]byte{linkerMark(head[:n]), elfNote(head[:n])} {
		if len(id) > 0 {
			return string(id), nil
		}
	}
	return version(path)
})

// linkerMark returns the build ID that the Go linker writes at the beginning of the code if it links internally.
func linkerMark(head []byte) []byte {
	_, rest, _ := bytes.Cut(head, []byte("\xff Go build ID: \""))
	id, _, ok := bytes.Cut(rest, []byte("\"\n \xff"))
	if !ok {
		return nil
	}
	return id
}

// elfNote returns the build ID in an ELF note: sizes of name and content, type 4, and the name Go.
func elfNote(head []byte) []byte {
	const name = "Go\x00\x00"
	for i := 0; ; {
		at := bytes.Index(head[i:], []byte(name))
		if at < 0 {
			return nil
		}
		i += at
		if i >= 12 {
			note := head[i-12:]
			number := binary.NativeEndian.Uint32
			size := int(number(note[4:]))
			if number(note) == uint32(len(name)) && number(note[8:]) == 4 && 0 < size && size <= len(note)-16 {
				return note[16 : 16+size]
			}
		}
		i += len(name)
	}
}
