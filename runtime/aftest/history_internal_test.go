package aftest

import (
	"context"
	"regexp"
	"testing"

	af "github.com/afgen/afgen/runtime"
)

type worker struct{}

func (*worker) Run(context.Context, int) error { return nil }

// What a failed test logs names the process of each change.
func TestHistoryNamesProcesses(t *testing.T) {
	var text, instance, id string
	RunCluster(t, func(t *testing.T, c *Cluster) {
		spec := af.Worker{Name: "q", Type: "Worker", Max: 1}
		instance = c.Start(func(app *af.App) { af.RegisterVoidWorker(app, spec, &worker{}) }).App().Instance().ID
		queue := af.NewVoidQueue[int](c.Client(), spec)
		var err error
		if id, err = queue.Submit(t.Context(), 1); err == nil {
			err = queue.Wait(t.Context(), id)
		}
		if err != nil {
			t.Fatal(err)
		}
		text = c.history()
	})
	for _, want := range []string{
		`^seed 1; instances by their first letters: \w{6} client, ` + instance[:6] + ` p1\n`,
		`\n +0\.\d\d\ds ` + instance[:6] + ` Claim ` + id + ` pending→running f1 a1 c0\n`,
		`Settle ` + id + ` running→success f1 a1 c0\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if regexp.MustCompile("Docs").MatchString(text) {
		t.Errorf("documents in\n%s", text)
	}
}
