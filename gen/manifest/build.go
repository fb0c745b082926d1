package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
)

// buildID is the Go linker's name for this program, of all that it was built from; failing that, which file it is and
// of when.
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

// linkerMark is the ID that Go's linker puts at the beginning of the code, where it links by itself.
func linkerMark(head []byte) []byte {
	_, rest, _ := bytes.Cut(head, []byte("\xff Go build ID: \""))
	id, _, ok := bytes.Cut(rest, []byte("\"\n \xff"))
	if !ok {
		return nil
	}
	return id
}

// elfNote is the ID in the notes of an ELF file: sizes of name and content, type 4, the name Go.
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
