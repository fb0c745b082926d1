package scrape

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// promtool runs promtool in a directory.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "promtool"), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

// The alerts are valid, and fire when they should and only then.
func TestAlertsFire(t *testing.T) {
	dir := filepath.Join(root, "deploy", "prometheus")
	promtool(t, dir, "check", "rules", "alerts.yaml")
	promtool(t, dir, "test", "rules", "alerts_test.yaml")
}

// The configuration of the example with compose is valid, with the alerts where its container has them.
func TestConfigurationOfComposeIsValid(t *testing.T) {
	dir := t.TempDir()
	for name, file := range map[string]string{
		"prometheus.yaml": "deploy/compose/prometheus.yaml", "alerts.yaml": "deploy/prometheus/alerts.yaml",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(read(t, file)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, dir, "check", "config", "prometheus.yaml")
}
