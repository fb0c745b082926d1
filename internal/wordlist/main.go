// Command wordlist finds expressions that the project doesn't use (words.go) in comments, messages, documents and templates.
//
// It looks at the comments and the messages of Go files, which are string literals with a space, at documents, scripts and
// golden files. Without arguments it looks at all files that git knows. Uses that are fine are listed in allowed.txt.
//
//	go run ./internal/wordlist            print findings, and fail if there are any
//	go run ./internal/wordlist -count     print how many there are per 1,000 words, by directory
//	go run ./internal/wordlist gen cmd    look only below these directories
package main

import (
	"bufio"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

func main() {
	count := flag.Bool("count", false, "print findings per 1,000 words of comments and documents, by directory")
	flag.Parse()
	if err := run(*count, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "wordlist:", err)
		os.Exit(1)
	}
}

func run(count bool, below []string) error {
	files, err := tracked(below)
	if err != nil {
		return err
	}
	allowed, err := readAllowed("internal/wordlist/allowed.txt")
	if err != nil {
		return err
	}
	totals := map[string]*tally{}
	failed := 0
	for _, file := range files {
		texts, err := textsOf(file)
		if err != nil {
			return err
		}
		dir := filepath.Dir(file)
		if totals[dir] == nil {
			totals[dir] = &tally{}
		}
		for _, t := range texts {
			if t.comment {
				totals[dir].words += len(strings.Fields(t.text))
			}
			for _, f := range find(file, t.line, t.text) {
				if allowed.has(f, t.text) {
					continue
				}
				failed++
				if t.comment {
					totals[dir].comments++
				} else {
					totals[dir].messages++
				}
				if !count {
					fmt.Printf("%s:%d: %q: write %s\n", f.file, f.line, f.text, f.instead)
				}
			}
		}
	}
	if count {
		print(totals)
		return nil
	}
	for _, line := range allowed.unused() {
		if len(below) == 0 {
			return fmt.Errorf("allowed.txt: nothing matches %q; remove the line", line)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d expressions that the project doesn't use", failed)
	}
	return nil
}

// A tally counts the words and the findings of a directory.
type tally struct{ words, comments, messages int }

func print(totals map[string]*tally) {
	var dirs []string
	sum := tally{}
	for dir, t := range totals {
		dirs = append(dirs, dir)
		sum.words, sum.comments, sum.messages = sum.words+t.words, sum.comments+t.comments, sum.messages+t.messages
	}
	sort.Strings(dirs)
	line := func(name string, t tally) {
		rate := 0.0
		if t.words > 0 {
			rate = 1000 * float64(t.comments) / float64(t.words)
		}
		fmt.Printf("%-45s %7d words %6d findings %6.2f per 1,000  messages %d\n", name, t.words, t.comments, rate, t.messages)
	}
	for _, dir := range dirs {
		line(dir, *totals[dir])
	}
	line("all", sum)
}

// tracked returns the files to look at.
func tracked(below []string) ([]string, error) {
	out, err := exec.Command("git", append([]string{"ls-files", "-co", "--exclude-standard", "--"}, below...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	var files []string
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		if _, err := os.Stat(file); err != nil || strings.HasPrefix(file, "internal/wordlist/") {
			continue
		}
		switch {
		case strings.HasSuffix(file, ".go"), strings.HasSuffix(file, ".md"), strings.HasSuffix(file, ".txtar"),
			strings.HasSuffix(file, ".tmpl"), strings.HasSuffix(file, ".yml"), strings.HasSuffix(file, ".yaml"),
			strings.HasSuffix(file, "Makefile"), !strings.Contains(filepath.Base(file), ".") && file != "LICENSE",
			strings.HasPrefix(file, "templates/"):
			files = append(files, file)
		}
	}
	return files, nil
}

// A text is one line of what people read: a comment or a document, or else a message.
type text struct {
	line    int
	text    string
	comment bool
}

func textsOf(file string) ([]text, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []text
	if !strings.HasSuffix(file, ".go") {
		n := 0
		for line := range strings.Lines(string(data)) {
			n++
			out = append(out, text{line: n, text: line, comment: strings.HasSuffix(file, ".md")})
		}
		return out, nil
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, nil // a test's broken file
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:") || strings.HasPrefix(c.Text, "//af:") {
				continue
			}
			first := fset.Position(c.Pos()).Line
			for i, line := range strings.Split(c.Text, "\n") {
				out = append(out, text{line: first + i, text: strings.TrimPrefix(line, "//"), comment: true})
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		value, err := strconv.Unquote(lit.Value)
		if err != nil || !strings.Contains(value, " ") {
			return true
		}
		first := fset.Position(lit.Pos()).Line
		for i, line := range strings.Split(value, "\n") {
			n := first
			if lit.Value[0] == '`' {
				n += i
			}
			out = append(out, text{line: n, text: line})
		}
		return true
	})
	return out, nil
}

// allowances are the uses that allowed.txt lists: a line has a file and a part of the line's text, separated by a tab.
type allowances struct {
	lines []string
	used  map[string]bool
}

func readAllowed(path string) (*allowances, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	a := &allowances{used: map[string]bool{}}
	s := bufio.NewScanner(f)
	for s.Scan() {
		if line := s.Text(); line != "" && !strings.HasPrefix(line, "#") {
			if !strings.Contains(line, "\t") {
				return nil, fmt.Errorf("%s: no tab in %q", path, line)
			}
			a.lines = append(a.lines, line)
		}
	}
	return a, s.Err()
}

// has reports whether a finding is allowed: the text around it is listed for its file.
func (a *allowances) has(f finding, line string) bool {
	for _, entry := range a.lines {
		file, part, _ := strings.Cut(entry, "\t")
		if file == f.file && strings.Contains(line, part) && strings.Contains(strings.ToLower(part), strings.ToLower(f.text)) {
			a.used[entry] = true
			return true
		}
	}
	return false
}

func (a *allowances) unused() []string {
	var out []string
	for _, line := range a.lines {
		if !a.used[line] {
			out = append(out, line)
		}
	}
	return out
}
