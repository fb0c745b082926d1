// Command release builds the archives of a release: one for each command in cmd and each platform, and SHA256SUMS. make
// release runs it.
//
//	go run ./internal/release [-version v1.2.3] [-out dist] [-platforms linux/amd64,…]
//	go run ./internal/release -check [-version v1.2.3]
//
// It builds a clone of HEAD, so uncommitted changes have no effect. The go command stamps the version: the tag of the
// commit, or a pseudo-version. With -version the build fails if that is another one. The same commit, tag and version of
// Go give the same bytes.
//
// If a command has a directory man with a program, that writes files for the archive, such as man pages, into the
// directory that is its argument. It runs on this machine, with SOURCE_DATE_EPOCH set to the time of the commit.
//
// With -check it builds nothing. It fails if the nested modules that get versions, otel and metrics, require an older
// version of the root module than this one, or the latest tag. make release-check runs it before these are tagged.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// platforms are those of a release.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

func main() {
	var r release
	var only string
	check := flag.Bool("check", false, "only check that otel and metrics require this version of the root module")
	flag.StringVar(&r.version, "version", "", "fail if the commit has another `version`")
	flag.StringVar(&r.out, "out", "dist", "`directory` for the archives; files in it that have the same names are replaced")
	flag.StringVar(&only, "platforms", strings.Join(platforms, ","), "`list` of GOOS/GOARCH")
	flag.Parse()
	r.root, r.platforms = ".", strings.Split(only, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var sums string
	var err error
	if *check {
		err = checkModules(ctx, r.root, r.version)
	} else {
		sums, err = r.build(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
	fmt.Print(sums)
}

// A release is one to build.
type release struct {
	root      string // of the repository
	out       string
	version   string // "" for any
	platforms []string
}

// build builds all archives and returns the contents of SHA256SUMS.
func (r release) build(ctx context.Context) (sums string, err error) {
	tmp, err := os.MkdirTemp("", "afgen-release-*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	bin, src := filepath.Join(tmp, "bin"), filepath.Join(tmp, "src")

	head, err := output(ctx, r.root, nil, "git", "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	if _, err := output(ctx, r.root, nil, "git", "clone", "-q", "--no-checkout", ".", src); err != nil {
		return "", err
	}
	if _, err := output(ctx, src, nil, "git", "checkout", "-q", "--detach", head); err != nil {
		return "", err
	}
	seconds, err := output(ctx, src, nil, "git", "show", "-s", "--format=%ct", "HEAD")
	if err != nil {
		return "", err
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return "", fmt.Errorf("time of commit %s: %w", head, err)
	}
	commands, err := filepath.Glob(filepath.Join(src, "cmd", "*", "main.go"))
	if err != nil || len(commands) == 0 {
		return "", cmp.Or(err, errors.New("no commands in cmd"))
	}
	common, err := documents(src, "LICENSE", "README.md", "CHANGELOG.md")
	if err != nil {
		return "", err
	}

	archives := map[string][]byte{} // by name
	for _, c := range commands {
		command := filepath.Base(filepath.Dir(c))
		files, err := extras(ctx, src, filepath.Join(tmp, "extras"), command, seconds)
		if err != nil {
			return "", err
		}
		files = append(files, common...)
		for _, platform := range r.platforms {
			goos, goarch, ok := strings.Cut(platform, "/")
			if !ok {
				return "", fmt.Errorf("platform %q is not GOOS/GOARCH", platform)
			}
			program, notices, version, err := compiled(ctx, src, command, bin, goos, goarch)
			if err != nil {
				return "", err
			}
			if r.version != "" && version != r.version {
				return "", fmt.Errorf("commit %.12s is %s, not %s; tag it first", head, version, r.version)
			}
			name, pack := fmt.Sprintf("%s_%s_%s_%s", command, version, goos, goarch), tarGz
			if goos == "windows" {
				pack = zipped
			}
			data, extension, err := pack(name, append(slices.Clone(files), program, notices), time.Unix(unix, 0).UTC())
			if err != nil {
				return "", err
			}
			archives[name+extension] = data
		}
	}
	return write(r.out, archives)
}

// extras returns the files that the program in a command's directory man writes, or none.
func extras(ctx context.Context, src, tmp, command, epoch string) ([]file, error) {
	pkg := "./cmd/" + command + "/man"
	if _, err := os.Stat(filepath.Join(src, pkg, "main.go")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	dir := filepath.Join(tmp, command)
	env := []string{"SOURCE_DATE_EPOCH=" + epoch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT="}
	if _, err := output(ctx, src, env, "go", "run", pkg, dir); err != nil {
		return nil, err
	}
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return documents(dir, names...)
}

// compiled returns a command's program for a platform, the licenses of what it contains, and its version.
func compiled(ctx context.Context, src, command, bin, goos, goarch string) (program, notices file, version string,
	err error) {
	info, data, err := compile(ctx, src, "./cmd/"+command, bin, goos, goarch)
	if err != nil {
		return file{}, file{}, "", err
	}
	var dependencies []string
	for _, m := range info.Deps {
		dependencies = append(dependencies, m.Path)
	}
	slices.Sort(dependencies)
	text, err := licenses(ctx, src, dependencies)
	if err != nil {
		return file{}, file{}, "", err
	}
	name := command
	if goos == "windows" {
		name += ".exe"
	}
	return file{name, data, true}, file{"THIRD_PARTY_LICENSES", text, false}, info.Main.Version, nil
}

// compile builds a command for a platform.
func compile(ctx context.Context, src, pkg, bin, goos, goarch string) (*buildinfo.BuildInfo, []byte, error) {
	// The user's environment must not change the result.
	env := []string{
		"GOOS=" + goos, "GOARCH=" + goarch, "GOAMD64=v1", "GOARM64=v8.0",
		"CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=",
	}
	if _, err := output(ctx, src, env, "go", "build", "-trimpath", "-buildvcs=true", "-o", bin, pkg); err != nil {
		return nil, nil, fmt.Errorf("%s/%s: %w", goos, goarch, err)
	}
	info, err := buildinfo.ReadFile(bin)
	if err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(bin)
	return info, data, err
}

// documents reads files of the repository.
func documents(src string, names ...string) ([]file, error) {
	var files []file
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return nil, err
		}
		files = append(files, file{name, data, false})
	}
	return files, nil
}

// licenses returns the license texts of the standard library and of modules. Most licenses require that binaries are
// distributed with them.
func licenses(ctx context.Context, src string, modules []string) ([]byte, error) {
	goroot, err := output(ctx, src, nil, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	dirs := []string{"Go standard library\t" + goroot}
	if len(modules) > 0 {
		args := append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}"}, modules...)
		out, err := output(ctx, src, nil, "go", args...)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, strings.Split(out, "\n")...)
	}
	var b bytes.Buffer
	b.WriteString("The command in this archive contains the packages below, under these licenses.\n")
	for _, line := range dirs {
		name, dir, _ := strings.Cut(line, "\t")
		found := 0
		for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return nil, err
			}
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					return nil, err
				}
				found++
				fmt.Fprintf(&b, "\n%s\n%s (%s)\n\n%s\n", strings.Repeat("=", 80), name, filepath.Base(f), bytes.TrimSpace(text))
			}
		}
		if found == 0 {
			return nil, fmt.Errorf("%s has no license file in %s", name, dir)
		}
	}
	return b.Bytes(), nil
}

// write writes the archives and SHA256SUMS.
func write(dir string, archives map[string][]byte) (sums string, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(archives)) {
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(archives[name]), name)
		if err := os.WriteFile(filepath.Join(dir, name), archives[name], 0o666); err != nil {
			return "", err
		}
	}
	return b.String(), os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(b.String()), 0o666)
}

// output runs a command and returns its standard output, without the newline at the end.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
