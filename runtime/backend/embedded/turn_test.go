package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func init() { children["beater"] = beat }

// beat writes as fast as it can from the first line of its standard input to its end, and says how often.
func beat() int {
	ctx := context.Background()
	ports, err := open(ctx, os.Getenv("AF_TEST_FILE"))
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
	for range 8 { // so that the next transaction is always ready
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

// Of several processes that write all the time, none gets much less than another. Without turns one of four may get a third
// of what another gets, and with SQLite's own way of waiting it may get nothing.
func TestWritersOfSeveralProcessesTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	join(t, path)
	const processes = 4
	var ins []io.WriteCloser
	var outs []*bufio.Reader
	for range processes {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "AF_TEST_CHILD=beater", "AF_TEST_FILE="+path)
		child.Stderr = os.Stderr
		in, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := child.Wait(); err != nil {
				t.Error(err)
			}
		})
		ins, outs = append(ins, in), append(outs, bufio.NewReader(out))
		if line, err := outs[len(outs)-1].ReadString('\n'); line != "ready\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	for _, in := range ins {
		if _, err := in.Write([]byte("go\n")); err != nil {
			t.Fatal(err)
		}
	}
	ports := join(t, path)
	for total := int64(0); total < 20_000; { // until there is enough to compare
		counts, err := ports.Store.Owners(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		total = 0
		for _, n := range counts {
			total += n
		}
	}
	var writes []int
	for i, in := range ins {
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		line, err := outs[i].ReadString('\n')
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
