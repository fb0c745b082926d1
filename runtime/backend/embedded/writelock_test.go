package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

func init() { children["beater"] = beatForever }

// beatForever writes as fast as it can, from the first line of its standard input until its end, and prints the number
// of writes.
func beatForever() int {
	ctx := context.Background()
	ports, err := openFile(ctx, os.Getenv("AF_TEST_FILE"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	_, _ = in.ReadString('\n')
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(over)
	}()
	var writes atomic.Int64
	var wg sync.WaitGroup
	for range 8 { // so that the next transaction is always queued
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := ports.Store.Beat(ctx, fmt.Sprint("o", os.Getpid()), writes.Add(1)); err != nil {
					fmt.Println(err)
					return
				}
			}
		})
	}
	wg.Wait()
	fmt.Println(writes.Load())
	if err := ports.Close(ctx); err != nil {
		return 1
	}
	return 0
}

// Among several processes that write continuously, none gets much less than another. Without the writeLock, one of four
// may get a third of the writes of another, and with SQLite's busy timeout it may get none.
func TestWritersTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	openUntilEnd(t, path)
	const processes = 4
	var children []*testkit.Child
	for range processes {
		child := testkit.Start(t, "beater", "AF_TEST_FILE="+path)
		t.Cleanup(func() { child.End(t) })
		child.Says(t, "ready")
		children = append(children, child)
	}
	for _, child := range children {
		if _, err := child.In.Write([]byte("go\n")); err != nil {
			t.Fatal(err)
		}
	}
	ports := openUntilEnd(t, path)
	for total := int64(0); total < 20_000; { // enough to compare
		counts, err := ports.Store.Owners(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		total = 0
		for _, beat := range counts {
			total += beat.Count
		}
	}
	var writes []int
	for _, child := range children {
		if err := child.In.Close(); err != nil {
			t.Fatal(err)
		}
		line, err := child.Out.ReadString('\n')
		n, err2 := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || err2 != nil {
			t.Fatalf("%q, %v", line, err)
		}
		writes = append(writes, n)
	}
	t.Logf("writes: %v", writes)
	if slices.Min(writes)*3 < slices.Max(writes) {
		t.Errorf("unfair: %v", writes)
	}
}
