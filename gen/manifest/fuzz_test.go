package manifest

import (
	"bytes"
	"testing"
)

// decode accepts or rejects any file with a valid hash and uses memory in proportion to its size. The result is the
// same after encoding and decoding it.
func FuzzManifest(f *testing.F) {
	const key = Key("0123")
	m := take(f, tree(f))
	m.Emitted = map[Sum]map[string]Sum{SumOf([]byte("a")): {"af_gen.go": SumOf([]byte("b"))}}
	whole := m.encode(key)
	f.Add(whole[:len(whole)-len(Sum{})])
	empty := (&Manifest{}).encode(key)
	f.Add(empty[:len(empty)-len(Sum{})])
	f.Add(append(bytes.Clone(empty[:len(format)+5]), 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f))
	f.Fuzz(func(t *testing.T, content []byte) {
		if _, err := decode(key, content); err == nil && len(content) < len(Sum{}) {
			t.Error("decoded a file without a hash")
		}
		sum := SumOf(content)
		m, err := decode(key, append(bytes.Clone(content), sum[:]...))
		if err != nil {
			return
		}
		again, err := decode(key, m.encode(key))
		if err != nil {
			t.Fatalf("%+v: decoding again: %v", m, err)
		}
		if a, b := m.encode(key), again.encode(key); !bytes.Equal(a, b) {
			t.Errorf("%x became %x", a, b)
		}
	})
}
