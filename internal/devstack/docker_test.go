package devstack_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
)

// fakeDocker is a docker that runs the machine's redis-server where it is asked for a container, and notes what it is asked.
const fakeDocker = `#!/bin/sh
echo "$@" >>"$FAKE_LOG"
[ "$1" = compose ] || exit 0
shift 5 # compose --project-name P --file F
pidfile="$FAKE_DIR/pid"
alive() { [ -f "$pidfile" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null; }
end() { alive && kill "-$1" "$(cat "$pidfile")"; while alive; do sleep 0.01; done; }
case "$1" in
up) redis-server --port "$AF_STACK_PORT" --bind 127.0.0.1 --save "" --dir "$FAKE_DIR" --pidfile "$pidfile" --daemonize yes >/dev/null ;;
stop) end TERM ;;
kill) end KILL ;;
ps) alive && echo id || true ;;
esac
`

// Docker itself is not at hand everywhere; what is asked of it is.
func TestContainerIsKilledAndStartedAgain(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("NOT TESTED: redis-server is not installed")
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(fakeDocker), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("FAKE_DIR", dir)
	t.Setenv("FAKE_LOG", log)
	devstack.SetDocker(t, true)

	if own := devstack.Configure(t, devstack.RedisKV); own.Project != "" {
		t.Error("a server that the test configures is a container")
	}
	s := devstack.Start(t, devstack.RedisKV)
	for _, end := range []func() error{s.Kill, s.Stop} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if s.Ready() == nil {
			t.Error("it answers")
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "--project-name "+s.Project+" --file "+filepath.Join(s.Dir, "compose.yaml")+" up --detach --no-recreate redis"); n != 3 {
		t.Errorf("started %d times:\n%s", n, text)
	}
}
