package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// encode returns the file of a manifest: format, key, content with length prefixes, and the hash of all that.
func (m *Manifest) encode(k Key) []byte {
	w := writer{}
	w.WriteString(format)
	w.string(string(k))
	w.number(btoi(m.Annotated))
	w.number(len(m.rules.outputs))
	for _, o := range m.rules.outputs {
		w.string(o)
	}
	w.number(len(m.directories))
	for _, f := range m.directories {
		w.string(f.path)
		w.entries(f.entries)
	}
	w.entries(m.paths)
	w.number(len(m.Emitted))
	for _, sum := range slices.SortedFunc(maps.Keys(m.Emitted), func(a, b Sum) int { return bytes.Compare(a[:], b[:]) }) {
		w.Write(sum[:])
		w.number(len(m.Emitted[sum]))
		for _, name := range slices.Sorted(maps.Keys(m.Emitted[sum])) {
			w.string(name)
			of := m.Emitted[sum][name]
			w.Write(of[:])
		}
	}
	total := SumOf(w.Bytes())
	w.Write(total[:])
	return w.Bytes()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

type writer struct{ bytes.Buffer }

func (w *writer) number(n int) { w.Write(binary.AppendUvarint(nil, uint64(n))) }
func (w *writer) string(s string) {
	w.number(len(s))
	w.WriteString(s)
}

func (w *writer) entries(entries []entry) {
	w.number(len(entries))
	for _, e := range entries {
		w.string(e.name)
		w.WriteByte(byte(e.kind))
		if e.kind != file {
			continue
		}
		w.Write(binary.LittleEndian.AppendUint64(nil, uint64(e.stamp.size)))
		w.Write(binary.LittleEndian.AppendUint64(nil, uint64(e.stamp.mtime)))
		w.Write(binary.LittleEndian.AppendUint64(nil, uint64(e.stamp.ctime)))
		w.Write(binary.LittleEndian.AppendUint64(nil, e.stamp.inode))
		w.Write(e.sum[:])
	}
}

// errDamaged makes Load return nil.
var errDamaged = errors.New("manifest is damaged or has another key")

// decode parses the file of a manifest with that key.
func decode(k Key, data []byte) (*Manifest, error) {
	n := len(data) - len(Sum{})
	if n < 0 || SumOf(data[:n]) != Sum(data[n:]) {
		return nil, errDamaged
	}
	r := &reader{rest: string(data[:n])}
	if r.take(len(format)) != format || r.string() != string(k) {
		return nil, errDamaged
	}
	m := &Manifest{Annotated: r.number() != 0, Emitted: map[Sum]map[string]Sum{}}
	for range r.count() {
		m.rules.outputs = append(m.rules.outputs, r.string())
	}
	count := r.count()
	m.directories = make([]directory, 0, count)
	for range count {
		m.directories = append(m.directories, directory{r.string(), r.entries()})
	}
	m.paths = r.entries()
	for range r.count() {
		sum, files := r.sum(), map[string]Sum{}
		for range r.count() {
			name := r.string()
			files[name] = r.sum()
		}
		m.Emitted[sum] = files
	}
	if r.damaged || r.rest != "" {
		return nil, errDamaged
	}
	return m, nil
}

// A reader parses data, which may be malformed. Strings share its memory.
type reader struct {
	rest    string
	damaged bool
}

func (r *reader) take(n int) string {
	if n < 0 || n > len(r.rest) {
		r.damaged, r.rest = true, ""
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *reader) number() int {
	n, err := binary.ReadUvarint((*byteReader)(r))
	if err != nil || n > 1<<62 {
		r.damaged, r.rest = true, ""
		return 0
	}
	return int(n)
}

// count returns the number of elements that follow. Each has at least one byte.
func (r *reader) count() int {
	n := r.number()
	if n > len(r.rest) {
		r.damaged, r.rest = true, ""
		return 0
	}
	return n
}

func (r *reader) string() string { return r.take(r.number()) }

func (r *reader) sum() (s Sum) {
	copy(s[:], r.take(len(s)))
	return s
}

func (r *reader) uint64() uint64 {
	var b [8]byte
	copy(b[:], r.take(8))
	return binary.LittleEndian.Uint64(b[:])
}

func (r *reader) entries() []entry {
	count := r.count()
	entries := make([]entry, 0, min(count, len(r.rest)/2))
	for range count {
		e := entry{name: r.string()}
		if k := r.take(1); k != "" {
			e.kind = kind(k[0])
		}
		if e.kind >= kinds {
			r.damaged = true
		}
		if e.kind == file {
			e.stamp = stamp{
				size: int64(r.uint64()), mtime: int64(r.uint64()), ctime: int64(r.uint64()), inode: r.uint64(),
			}
			e.sum = r.sum()
		}
		if r.damaged {
			return nil
		}
		entries = append(entries, e)
	}
	return entries
}

// A byteReader implements io.ByteReader.
type byteReader reader

func (r *byteReader) ReadByte() (byte, error) {
	b := (*reader)(r).take(1)
	if b == "" {
		return 0, errDamaged
	}
	return b[0], nil
}
