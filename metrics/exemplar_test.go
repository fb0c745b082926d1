package metrics_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/metrics"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// Histograms of calls and tasks have exemplars of sampled traces, and of no others.
func TestExemplars(t *testing.T) {
	const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	isLinked := func(line string) bool {
		_, exemplar, _ := strings.Cut(line, " # ")
		return strings.Contains(exemplar, `trace_id="`+sampled[3:35]+`"`) &&
			strings.Contains(exemplar, `span_id="`+sampled[36:52]+`"`)
	}
	for _, tt := range []struct {
		name, trace string
		want        bool
	}{
		{"none", "", false},
		{"sampled", sampled, true},
		{"unsampled", strings.TrimSuffix(sampled, "1") + "0", false},
		{"other_flags", strings.TrimSuffix(sampled, "01") + "02", false},
		{"invalid", strings.Replace(sampled, "af", "\"}", 1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app, _ := start(t, memory.New())
			ctx := af.WithTrace(t.Context(), tt.trace)
			_, err := get.Call(ctx, af.NewClient(app), 1)
			must(t, err)
			q := af.NewQueue[int, int](app, resize)
			id, err := q.Submit(ctx, 1)
			must(t, err)
			_, err = q.Wait(ctx, id)
			must(t, err)
			h := metrics.Handler(app)
			for _, name := range []string{"rpc_client_call_duration_seconds", "rpc_server_call_duration_seconds",
				"af_task_wait_seconds", "af_task_run_seconds"} {
				var found []string
				within(t, name+" has a value", func() bool {
					_, body := request(t, h, "application/openmetrics-text; version=1.0.0")
					found = nil
					for line := range strings.Lines(body) {
						if strings.HasPrefix(line, name+"_bucket") {
							found = append(found, line)
						}
					}
					return len(found) > 0
				})
				all := strings.Join(found, "")
				if slices.ContainsFunc(found, isLinked) != tt.want || strings.Contains(all, " # ") != tt.want {
					t.Errorf("%s", all)
				}
			}
		})
	}
}

// A malformed traceparent of a peer has no exemplar.
func TestMalformedTraceHasNoExemplar(t *testing.T) {
	const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	i := metrics.New()
	for trace, want := range map[string]bool{
		sampled: true, strings.Replace(sampled, "af76", "----", 1): false, sampled + "-more": false,
		strings.Replace(sampled, "b7ad6b7169203331", strings.Repeat("0", 16), 1): false,
	} {
		if got := i.Extract(t.Context(), map[string]string{"traceparent": trace}) != t.Context(); got != want {
			t.Errorf("%s: kept %v, want %v", trace, got, want)
		}
	}
}
