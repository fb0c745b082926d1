// Package browser tests the dashboard in a Chromium (package chrome), against Apps in the same process, and its pages
// with axe-core (package axe).
//
// It is a module of its own, so that its dependencies never reach users. It is never tagged. Without a Chromium, all of
// its tests are skipped; without npm or its registry, those for accessibility.
package browser
