// Command dependencies checks the dependencies of all modules of this repository: with the rule of rule.go against
// the module proxy, and with govulncheck for known vulnerabilities. make dependencies runs it, and a workflow does
// once a week.
//
// It prints a line for each finding, and the exit code is 1 if there are any. It also prints what it couldn't check,
// such as vulnerabilities without network access; with AF_TEST_REQUIRE=1 that is a finding.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
)

// vulnerabilities is the program that finds known vulnerabilities.
const vulnerabilities = "golang.org/x/vuln/cmd/govulncheck@latest"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	findings, unchecked, err := check(ctx, ".", time.Now())
	stop()
	if err != nil {
		findings = append(findings, err.Error())
	}
	for _, u := range unchecked {
		fmt.Println("NOT CHECKED:", u)
	}
	for _, f := range findings {
		fmt.Println(f)
	}
	if len(findings) > 0 || len(unchecked) > 0 && os.Getenv("AF_TEST_REQUIRE") == "1" {
		os.Exit(1)
	}
	fmt.Println("dependencies: ok")
}

// check checks all modules under root.
func check(ctx context.Context, root string, now time.Time) (findings, unchecked []string, err error) {
	dirs, err := modules(root)
	if err != nil {
		return nil, nil, err
	}
	for _, dir := range dirs {
		file, err := readModule(filepath.Join(root, dir))
		if err != nil {
			return nil, nil, err
		}
		list := lister{ctx, filepath.Join(root, dir)}
		found, err := behind(list.module, covered(file), now)
		for _, f := range found {
			findings = append(findings, filepath.Join(dir, "go.mod")+": "+f)
		}
		if err != nil {
			unchecked = append(unchecked, fmt.Sprintf("versions in %s: %v", dir, err))
		}
		report, err := vulnerable(ctx, filepath.Join(root, dir))
		if err != nil {
			unchecked = append(unchecked, fmt.Sprintf("vulnerabilities in %s: %v", dir, err))
		} else if report != "" {
			findings = append(findings, report)
		}
	}
	return findings, unchecked, nil
}

// modules returns the directories under root that have a go.mod, without those of test data.
func modules(root string) (dirs []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.Name() == "go.mod":
			dir, err := filepath.Rel(root, filepath.Dir(path))
			dirs = append(dirs, dir)
			return err
		}
		return nil
	})
	slices.Sort(dirs)
	return dirs, err
}

func readModule(dir string) (*modfile.File, error) {
	name := filepath.Join(dir, "go.mod")
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return modfile.Parse(name, text, nil)
}

// A lister runs go list in a directory.
type lister struct {
	ctx context.Context
	dir string
}

// module describes a module; query is an argument of go list -m.
func (l lister) module(query string) (*module, error) {
	out, err := run(l.ctx, l.dir, "go", "list", "-m", "-u", "-versions", "-retracted", "-json", query)
	if err != nil {
		return nil, err
	}
	return decode(out)
}

// vulnerable returns a report on known vulnerabilities that a module's code reaches, or "".
func vulnerable(ctx context.Context, dir string) (string, error) {
	out, err := run(ctx, dir, "go", "run", vulnerabilities, "./...")
	if err != nil && strings.HasSuffix(err.Error(), "exit status 3") { // govulncheck's exit code for findings
		return string(out), nil
	}
	return "", err
}

// run runs a command. Its error ends with the last two lines of the command's stderr.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(problems.String()), "\n")
		return out.Bytes(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err,
			strings.Join(lines[max(0, len(lines)-2):], ": "))
	}
	return out.Bytes(), nil
}
