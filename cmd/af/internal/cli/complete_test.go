package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// stuck is a system that does not answer.
type stuck struct{ admin.API }

func (stuck) Queues(ctx context.Context) ([]af.QueueInfo, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A system that does not answer delays a completion by no more than a second.
func TestCompletionIsBounded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		tr := &trial{t: t, ctx: t.Context(), api: stuck{}}
		begun := time.Now()
		r := tr.run("__complete", "pause", "")
		if took := time.Since(begun); took > completeFor || r.code != exitDone || !strings.HasPrefix(r.out, ":") {
			t.Errorf("%v, %+v", took, r)
		}
	})
}

// named is a system with queues that have strange names.
type named struct{ admin.API }

func (named) Queues(context.Context) ([]af.QueueInfo, error) {
	return []af.QueueInfo{{Name: "mail"}, {Name: "ma\x1b[31mil"}, {Name: ""}, {Name: "make"}, {Name: "hold"}}, nil
}

// What a terminal would execute is not offered.
func TestCompletionIsSafe(t *testing.T) {
	tr := &trial{t: t, ctx: t.Context(), api: named{}}
	r := tr.run("__complete", "pause", "ma")
	if r.out != "mail\t0 waiting no worker\nmake\t0 waiting no worker\n:4\n" {
		t.Errorf("%q", r.out)
	}
}

// Every command is completed, by its own completion or by one of the table. The table has no other commands.
func TestEveryCommandIsCompleted(t *testing.T) {
	known := map[string]bool{}
	without := map[string]bool{"top": true, "queues": true, "instances": true, "nodes": true, "jobs": true, "audit": true,
		"doctor": true, "ui": true, "version": true, "filter": true, "completion": true, "help": true}
	for _, cmd := range (&invocation{}).root().Commands() {
		known[cmd.Name()] = true
		if _, ok := argumentCompleters[cmd.Name()]; !ok && !without[cmd.Name()] {
			t.Errorf("the arguments of %s are not completed", cmd.Name())
		}
	}
	for name := range argumentCompleters {
		if !known[name] {
			t.Errorf("no command %s", name)
		}
	}
}

// Flags are completed with as many dashes as were typed.
func TestCompletedFlags(t *testing.T) {
	for word, want := range map[string]string{
		"-wh": "-where\t", "--wh": "--where\t", "-": "-where\t", "-w": "-where\t", "--": "--where\t", "-q": "",
	} {
		r := (&trial{t: t, ctx: t.Context(), api: named{}}).run("__complete", "stop", word)
		if found := want != "" && strings.HasPrefix(r.out, want) || strings.Contains(r.out, "\n"+want); r.code != exitDone ||
			!found || strings.Contains(r.out, "---") {
			t.Errorf("%s: %+v", word, r)
		}
	}
}
