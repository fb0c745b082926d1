package mesh

import (
	"encoding/hex"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

var update = flag.Bool("update", false, "rewrite the frames in docs/wire.md")

// The bytes in docs/wire.md are those of TestFramesOnTheWire.
func TestDocumentedFrames(t *testing.T) {
	var frames strings.Builder
	for _, e := range examples() {
		fmt.Fprintf(&frames, "%s:\n\n```\n%s```\n\n", e.title, hex.Dump([]byte(e.want)))
	}
	testkit.Section(t, "../../../../../docs/wire.md",
		"<!-- frames: made by go test ./runtime/backend/embedded/internal/mesh -update -->", "<!-- /frames -->",
		frames.String(), *update)
}
