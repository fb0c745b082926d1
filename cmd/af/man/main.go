// Command man writes the man pages of af and its completion scripts, for archives and packages:
//
//	go run ./cmd/af/man DIR
//
// DIR/man gets af.1 and a page for each command, DIR/completions a script for each shell. If SOURCE_DATE_EPOCH is set,
// it is the date of the pages, and the same sources give the same bytes.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/afgen/afgen/cmd/af/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: man DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// write writes all files below a directory, which it creates.
func write(dir string) error {
	files := map[string]func(io.Writer) error{} // by path
	root := cli.Command()
	for name, generate := range map[string]func(io.Writer) error{
		"af.bash": func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"_af":     root.GenZshCompletion,
		"af.fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
		"af.ps1":  root.GenPowerShellCompletionWithDesc,
	} {
		files[filepath.Join("completions", name)] = generate
	}
	for _, cmd := range append(root.Commands(), root) {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		files[filepath.Join("man", name+".1")] = func(w io.Writer) error { return page(w, cmd) }
	}
	for _, sub := range []string{"completions", "man"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o777); err != nil {
			return err
		}
	}
	for path, generate := range files {
		var b bytes.Buffer
		if err := generate(&b); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), b.Bytes(), 0o666); err != nil {
			return err
		}
	}
	return nil
}

const environment = `

# ENVIRONMENT

**AF_URL**: the URL of -url, if none of -c, -file and -url is given.

**AF_TOKEN**: the token for that server. With another server as -url it is not sent.

**NO_COLOR**: if set, the output has no colors. It has none either if it is no terminal.

# FILES

**config.yaml**: what names the system, if nothing else does.

**.af/af.db**: the default embedded file.
`

// longFlag matches the name of a flag in a page.
var longFlag = regexp.MustCompile(`(\\fB)(?:\\-|-)(\\-|-)`)

// page writes the page of a command.
func page(w io.Writer, cmd *cobra.Command) error {
	cmd.Long = markdown(cmd.Long) // which the generator takes
	if !cmd.HasParent() {
		cmd.Long += environment
	}
	cmd.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Manual: "afgen", Source: "afgen"}
	var b bytes.Buffer
	if err := doc.GenMan(cmd, header, &b); err != nil {
		return err
	}
	_, err := w.Write(longFlag.ReplaceAll(b.Bytes(), []byte("$1$2"))) // -file, as users write it
	return err
}

// markdown makes lines that are indented a block of code, as a terminal shows them.
func markdown(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  ") {
			line = "  " + line
		}
		b.WriteString(line)
	}
	return b.String()
}
