package auto_test

import (
	"context"
	"errors"
	"io/fs"
	stdlog "log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/auto"
	"github.com/afgen/afgen/runtime/config"
)

func parse(t *testing.T, text string) config.Config {
	t.Helper()
	cfg, err := config.Parse("config.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDefaultIsEmbedded(t *testing.T) {
	path, logs := filepath.Join(t.TempDir(), "dir", "tasks.db"), t.TempDir()
	cfg := parse(t, "embedded:\n  path: "+path+"\n  durability: full\ntasks:\n  ip: 192.0.2.7\n"+
		"logger: {path: "+logs+", level: WARN}\n")
	app, err := af.Open(t.Context(), auto.From(cfg), auto.Options(cfg)...)
	if err != nil {
		t.Fatal(err)
	}
	if ip := app.Instance().IP; ip != "192.0.2.7" {
		t.Errorf("instance address %s", ip)
	}
	if err := app.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// The log is written where the configuration says, from opening to shutdown. If that isn't writable, Open fails.
func TestLogFollowsConfiguration(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg := parse(t, "logger: {path: here, level: info}\n")
	app, err := af.Open(t.Context(), auto.From(cfg), auto.Options(cfg)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(app.Start(t.Context()), app.Shutdown(t.Context())); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("here/*-????-??-??.log")
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	for _, want := range []string{`"msg":"started"`, `"msg":"stopped"`, `"instance":"` + app.Instance().ID} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s is not in the log: %v\n%s", want, err, text)
		}
	}

	cfg.Logger.Path = files[0] // not a directory
	if _, err := af.Open(t.Context(), auto.From(cfg), auto.Options(cfg)...); err == nil ||
		!strings.Contains(err.Error(), "opening the log") {
		t.Errorf("got %v", err)
	}
	// With another logger no files are written.
	cfg.Logger.Path = "elsewhere"
	app, err = af.Open(t.Context(), auto.From(cfg), append(auto.Options(cfg), af.Logger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("elsewhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("log files with another logger: %v", err)
	}
}

// The log and the errors name the file and the configuration by their absolute paths.
func TestFilesAreNamedByAbsolutePaths(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.WriteFile("config.yaml", []byte("embedded: {path: here.db}\nlogger: {path: logs}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := auto.Load("")
	if err != nil {
		t.Fatal(err)
	}
	app, err := af.Open(t.Context(), auto.From(cfg), auto.Options(cfg)...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.Shutdown(context.Background()) }()
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	file, config := filepath.Join(dir, "here.db"), filepath.Join(dir, "config.yaml")
	_, err = app.Call(t.Context(), "shop", "Price", nil)
	if want := `no instance of service "shop" is running on ` + file + ", configured by " + config; err == nil ||
		!strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	logs, err := filepath.Glob("logs/*.log")
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	text, err := os.ReadFile(logs[0])
	if want := `"location":"` + file + `","config":"` + config + `"`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
}

// With a console only, nothing is written to the working directory unless the backend needs it.
func TestConsoleOnlyLeavesTheWorkingDirectoryEmpty(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "af.db")
	t.Chdir(dir)
	cfg := parse(t, "embedded: {path: "+file+"}\nlogger: {path: '', format: json, level: error}\n")
	for _, opts := range [][]af.AppOption{nil, auto.Options(cfg)} {
		app, err := af.Open(t.Context(), auto.From(cfg), opts...)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(app.Start(t.Context()), app.Shutdown(t.Context())); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// A program starts in a read-only directory if it is told where to write. Otherwise the error names the key.
func TestReadOnlyDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "af.db")
	t.Chdir(testkit.ReadOnlyDir(t))
	for text, want := range map[string]string{
		"": "set logger.path to another directory, or to \"\" to log to the console only",
		"logger: {path: ''}\n": "set embedded.path, or the argument of embedded.File, to a path in a directory " +
			"that can be written",
		"logger: {path: '', level: error}\nembedded: {path: " + file + "}\n": "",
	} {
		cfg := parse(t, text)
		app, err := af.Open(t.Context(), auto.From(cfg), auto.Options(cfg)...)
		if want != "" {
			if !errors.Is(err, af.ErrPermissionDenied) || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%q: got %v, want %s", text, err, want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(app.Start(t.Context()), app.Shutdown(t.Context())); err != nil {
			t.Error(err)
		}
	}
}

// The sections tasks and logger also apply without Options.
func TestFromAppliesSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg := parse(t, "tasks: {ip: 192.0.2.7}\nlogger: {path: here}\n")
	app, err := af.Open(t.Context(), auto.From(cfg))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.Shutdown(context.Background()) }()
	if ip := app.Instance().IP; ip != "192.0.2.7" {
		t.Errorf("instance address %s", ip)
	}
	if files, err := filepath.Glob("here/*.log"); err != nil || len(files) != 1 {
		t.Errorf("log files %v, %v", files, err)
	}
	cfg.Tasks.Lease = time.Second
	if _, err := af.Open(t.Context(), auto.From(cfg)); !errors.Is(err, af.ErrInvalidArgument) {
		t.Errorf("a lease of a second: %v", err)
	}
}

type nothing struct{}

func (*nothing) Run(context.Context, int) error { return nil }

// The section workers overrides the program.
func TestFromAppliesSettingsOfWorkers(t *testing.T) {
	t.Chdir(t.TempDir())
	app, err := af.Open(t.Context(), auto.From(parse(t, "workers: {nothing: {max: 3}}\n")), af.Logger(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.Shutdown(context.Background()) }()
	af.RegisterVoidWorker(app, af.Worker{Name: "nothing", Type: "Nothing", Max: 1}, &nothing{}, af.Max(2))
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := app.Workers(t.Context(), af.WorkerQuery{})
	if err != nil || len(page.Workers) != 1 || page.Workers[0].Wanted != 3 {
		t.Errorf("workers %+v, %v; want 3 slots", page.Workers, err)
	}
}

func TestMachineIsReported(t *testing.T) {
	cfg := parse(t, "embedded: {path: "+filepath.Join(t.TempDir(), "af.db")+"}\n")
	app, err := af.Open(t.Context(), auto.From(cfg),
		append(auto.Options(cfg), af.Logger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.Shutdown(context.Background()) }()
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		page, err := app.Nodes(t.Context(), af.NodeQuery{})
		if err != nil || page.Total != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		if n := page.Nodes[0]; n.MemoryTotal > 0 && n.Platform != "" && n.Kernel != "" && n.DiskTotal > 0 &&
			n.Load1+n.CPU > 0 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%+v", n)
		}
	}
}

func TestOpenErrorsNameAllServers(t *testing.T) {
	t.Chdir(t.TempDir()) // for the log
	// Nothing listens on port 1.
	_, err := af.Open(t.Context(), auto.From(parse(t,
		"mongodb: {port: 1, connect_timeout: 1s}\nredis: {port: 1}\nrabbitmq: {port: 1}\n")))
	if !errors.Is(err, af.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	for _, section := range []string{"mongodb: ", "redis: ", "rabbitmq: "} {
		if err != nil && !strings.Contains(err.Error(), section) {
			t.Errorf("%v doesn't name %s", err, section)
		}
	}
}

func TestMissingSectionsAreNamed(t *testing.T) {
	cfg := config.Default()
	cfg.Redis = &config.Redis{}
	_, err := af.Open(t.Context(), auto.From(cfg))
	if !errors.Is(err, af.ErrInvalidArgument) || !strings.Contains(err.Error(), "mongodb and rabbitmq are missing") {
		t.Errorf("got %v", err)
	}
}

func TestLoadDefaultFile(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg, err := auto.Load("")
	if err != nil || cfg != config.Default() {
		t.Errorf("got %+v, %v", cfg, err)
	}
	if _, err := auto.Load("config.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("explicit path: %v", err)
	}
	var warnings strings.Builder
	defer stdlog.SetOutput(stdlog.Writer()) // which SetDefault changes
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&warnings, nil)))
	for _, want := range []int{0, 1} {
		if cfg, err := auto.Load(""); err != nil || cfg != config.Default() {
			t.Errorf("got %+v, %v", cfg, err)
		}
		if n := strings.Count(warnings.String(), "config.yml is not read: rename it"); n != want {
			t.Errorf("%d warnings, want %d: %s", n, want, warnings.String())
		}
		if err := os.WriteFile("config.yml", []byte("embedded:\n  path: there.db\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("config.yaml", []byte("embedded:\n  path: here.db\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := auto.Load(""); err != nil || cfg.Embedded.Path != "here.db" {
		t.Errorf("got %+v, %v", cfg.Embedded, err)
	}
	if err := os.WriteFile("config.yaml", []byte("embeded:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := auto.Load(""); err == nil || !strings.Contains(err.Error(), "config.yaml:1") {
		t.Errorf("got %v", err)
	}
}
