package config

import (
	"regexp"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"
)

// A decoder fills a Config from the nodes of a file and collects problems. It descends no deeper than the keys do, so
// recursive aliases and alias bombs cost nothing.
type decoder struct {
	file     string
	env      func(string) (string, bool)
	config   Config
	given    map[string]given
	secrets  []string // messages must not contain them
	problems []problem
}

// given records a written key, unless its value is an empty string.
type given struct {
	at    position
	valid bool
}

func (d *decoder) report(at position, key, message string) {
	d.problems = append(d.problems, problem{at: at, key: key, message: message})
}

func (d *decoder) top(n *yaml.Node) {
	d.gatherSecrets(n, false)
	switch {
	case n.Kind == yaml.MappingNode:
		d.mapping(n, "", children(""))
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null": // same as an empty file
	default:
		d.report(positionOf(n), "",
			"the file must be a mapping with the sections mongodb, redis, rabbitmq, servers, logger, embedded, tasks, "+
				"dashboard and workers, not "+kindOf(n))
	}
}

// gatherSecrets collects the values of secret keys everywhere, including under unknown and repeated keys and keys of
// the wrong type. Their values may be repeated elsewhere.
func (d *decoder) gatherSecrets(n *yaml.Node, secret bool) {
	if n.Kind == yaml.AliasNode && n.Alias.Kind == yaml.ScalarNode {
		n = n.Alias
	}
	if secret && n.Kind == yaml.ScalarNode {
		text, _, _ := expand(n.Value, d.env)
		for _, s := range []string{n.Value, text} {
			if s != "" {
				d.secrets = append(d.secrets, s)
			}
		}
	}
	for i, child := range n.Content {
		isValue := n.Kind == yaml.MappingNode && i%2 == 1
		d.gatherSecrets(child, secret || isValue && secretNames[n.Content[i-1].Value])
	}
}

// mapping reads the keys of the mapping called name; "" is the top level. known are the keys that it may have.
func (d *decoder) mapping(n *yaml.Node, name string, known []row) {
	first := make(map[string]position)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := positionOf(k)
		r, ok := d.lookup(k, name, known)
		if !ok {
			continue
		}
		if before, twice := first[r.Name]; twice {
			// Reads only the first one: merging two sections would report problems that neither has.
			d.report(at, r.Name, r.Name+" is written twice, first in line "+strconv.Itoa(before.line))
			continue
		}
		first[r.Name] = at
		if r.set == nil {
			d.section(r, at, v, children(r.Name))
		} else {
			d.scalar(r, at, v)
		}
	}
}

var plainText = regexp.MustCompile(`^[\w.-]+$`)

// isPlain reports whether a text of at most max bytes consists of letters, digits and _.-. The length is not in the
// expression: that would take a millisecond to compile when a program starts.
func isPlain(s string, max int) bool { return len(s) <= max && plainText.MatchString(s) }

// lookup returns the row of key k, or reports that it is unknown.
func (d *decoder) lookup(k *yaml.Node, parent string, known []row) (r row, ok bool) {
	at, dot, in := positionOf(k), "", ""
	if parent != "" {
		dot, in = parent+".", " in "+parent
	}
	if k.Kind == yaml.ScalarNode && k.Tag == "!!merge" {
		d.report(at, parent, "merge keys (<<)"+in+" are not supported: write the keys out, "+
			"or use an alias for a whole mapping")
		return row{}, false
	}
	// Don't print anything but a plain name: a misplaced value may be a secret.
	if k.Kind != yaml.ScalarNode || !isPlain(k.Value, 40) {
		d.report(at, parent, "unknown key"+in+": keys are plain names")
		return row{}, false
	}
	if i := slices.IndexFunc(known, func(r row) bool { return r.Name == dot+k.Value }); i >= 0 {
		return known[i], true
	}
	message := "unknown key " + strconv.Quote(k.Value) + in
	if guess := closest(k.Value, len(dot), known); guess != "" {
		message += "; did you mean " + strconv.Quote(guess) + "?"
	}
	d.report(at, dot+k.Value, message)
	return row{}, false
}

// section reads the mapping of a key, which may have the keys known. It reports whether the value is a mapping.
func (d *decoder) section(r row, at position, n *yaml.Node, known []row) bool {
	n, _ = resolve(n)
	d.given[r.Name] = given{at, true}
	if r.open != nil {
		r.open(&d.config)
		setDefaults(&d.config, r.Name)
	}
	switch {
	case n.Kind == yaml.MappingNode && r.Name == workersRow.Name:
		d.workers(n)
		return true
	case n.Kind == yaml.MappingNode:
		d.mapping(n, r.Name, known)
		return true
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null": // present, with all keys at their defaults
	default:
		d.report(positionOf(n), r.Name, r.Name+" must be a mapping, not "+kindOf(n))
	}
	return false
}

// scalar reads a single value.
func (d *decoder) scalar(r row, at position, n *yaml.Node) {
	n, aliased := resolve(n)
	d.given[r.Name] = given{at, false}
	text, expanded, problems := d.text(r, n)
	for _, p := range problems {
		d.report(positionOf(n), r.Name, r.Name+p)
	}
	if len(problems) > 0 {
		return
	}
	if p := r.set(&d.config, text); p != "" {
		d.report(positionOf(n), r.Name, r.Name+" "+p)
		if !r.secret && !r.mute && !expanded && !aliased {
			d.problems[len(d.problems)-1].value = text
		}
		return
	}
	if text == "" {
		delete(d.given, r.Name)
		return
	}
	d.given[r.Name] = given{at, true}
}

// text returns the expanded text of a scalar. Each problem continues the name of the key.
func (d *decoder) text(r row, n *yaml.Node) (text string, expanded bool, problems []string) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", false, []string{" must be a single value (" + r.Type + "), not " + kindOf(n)}
	case n.Style&yaml.TaggedStyle != 0 && !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool"}, n.Tag):
		return "", false, []string{" has a YAML tag: quote a value that begins with !"}
	case n.Tag == "!!null":
		return "", false, []string{` has no value: remove the key, write "" for an empty string, ` +
			`or quote a value that begins with #, & or !`}
	}
	text, expanded, problems = expand(n.Value, d.env)
	for i := range problems {
		problems[i] = ": " + problems[i]
	}
	return text, expanded, problems
}

// resolve follows an alias. The parser refuses aliases to unknown anchors and anchors on aliases.
func resolve(n *yaml.Node) (target *yaml.Node, aliased bool) {
	if n.Kind == yaml.AliasNode {
		return n.Alias, true
	}
	return n, false
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}
