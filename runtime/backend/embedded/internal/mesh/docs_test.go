package mesh

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the frames in docs/wire.md")

// The bytes in docs/wire.md are those of TestFramesOnTheWire.
func TestDocumentedFramesAreThoseOnTheWire(t *testing.T) {
	const (
		file  = "../../../../../docs/wire.md"
		begin = "<!-- frames: made by go test ./runtime/backend/embedded/internal/mesh -update -->\n"
		end   = "<!-- /frames -->\n"
	)
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	old, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the frames", file)
	}
	var frames strings.Builder
	for _, e := range examples() {
		fmt.Fprintf(&frames, "%s:\n\n```\n%s```\n\n", e.title, hex.Dump([]byte(e.want)))
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+frames.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != frames.String() {
		t.Errorf("%s is stale; go test ./runtime/backend/embedded/internal/mesh -update mends it", file)
	}
}
