// Package dashboard serves web pages that show and operate a running system.
//
//	mux.Handle("/ops/", dashboard.Handler(app,
//		dashboard.Prefix("/ops"),
//		dashboard.Authorize(userOf)))
//
// [Serve] serves it at an address of its own, as config.yaml tells; [Listen] does so for any API.
//
// # Pages
//
// The server renders every page with html/template, and draws the charts as SVG. All pages work without JavaScript.
// One small script keeps them up to date, follows logs and adds shortcuts. The pages, the style sheet and the script
// are embedded: there is no build step, and no request leaves the dashboard.
//
// # Rights
//
// [Authorize] returns the [admin.User] who makes a request. The user's rights are checked by [admin.Guard], where the
// change is made; that a page hides a button protects nothing. A user who may change nothing gets 403 for every request
// that is not a read, whatever its path. Cross-origin changes are refused by [http.CrossOriginProtection].
// Without Authorize every request is refused, except at an address of [Serve] or [Listen]: there everyone may read, and
// those who have opened the address with its secret token may change everything. Such an address must be on this machine,
// and answers only to names that are known, so that no page of another site can read it.
//
// # Data
//
// Pages read the system through [admin.API], below which answers are kept for a second, and no faster than a fixed rate:
// many viewers cost little more than one. Rights and [RedactPayload] are applied above that, for each viewer. Whatever
// comes from the system is escaped, and a strict Content-Security-Policy allows neither inline scripts nor inline styles.
//
// # Live updates
//
// GET /events is a stream of server-sent events which name what has changed: see [admin.Tick]. The script then fetches
// the page again and replaces the parts that differ, so a page is rendered in one way only. Streams end when the server
// shuts down. If a stream can't be opened, the script fetches the page every five seconds.
//
// The JSON API of package adminhttp is served below /api/v1/ with the same rights.
package dashboard
