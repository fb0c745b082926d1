package snowflake_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/snowflake"
)

const (
	processes = 8
	perEach   = 125_000
)

func TestMain(m *testing.M) {
	testkit.Children{"generator": func() int {
		if err := makeIDs(os.Getenv("AF_TEST_FILE")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}}.Run()
	goleak.VerifyTestMain(m)
}

// makeIDs is one process. It writes its ids to its output and holds its number until it exits.
func makeIDs(path string) error {
	ctx := context.Background()
	ports, err := embedded.File(path).Open(ctx, backend.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	g, err := snowflake.New(ctx, ports.Docs)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for range perEach {
		id, err := g.Next(ctx)
		if err != nil {
			return err
		}
		if _, err := out.Write(binary.LittleEndian.AppendUint64(nil, uint64(id))); err != nil {
			return err
		}
	}
	return out.Flush()
}

// Eight processes share a file and generate a million ids. All differ, and those of each process increase.
func TestEightProcessesNeverCollide(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	var children []*testkit.Child
	for range processes {
		children = append(children, testkit.Start(t, "generator", "AF_TEST_FILE="+path))
	}
	all := make([]uint64, 0, processes*perEach)
	for i, child := range children {
		raw, err := io.ReadAll(child.Out)
		if err != nil || len(raw) != 8*perEach {
			t.Fatalf("process %d: %d bytes, %v", i, len(raw), err)
		}
		for j := 0; j < len(raw); j += 8 {
			id := binary.LittleEndian.Uint64(raw[j:])
			if j > 0 && id <= all[len(all)-1] {
				t.Fatalf("process %d: %d after %d", i, id, all[len(all)-1])
			}
			all = append(all, id)
		}
	}
	for _, child := range children {
		child.End(t)
	}
	slices.Sort(all)
	if different := len(slices.Compact(all)); different != processes*perEach {
		t.Errorf("%d ids, %d of them different", processes*perEach, different)
	}
}
