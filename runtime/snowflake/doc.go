// Package snowflake makes ids of 64 bits that no two processes on one backend ever share, and that sort by time.
//
//	g, err := snowflake.New(ctx, docs)    // an App does this: app.Snowflake(ctx)
//	id, err := g.Next(ctx)
//	fmt.Println(id)                       // 3560256936347308032
//	err = g.Close(ctx)
//
// # Layout
//
//	 63  62                              22 21          12 11            0
//	+---+----------------------------------+--------------+--------------+
//	| 0 | milliseconds since 2000-01-01 UTC | node number  |   sequence   |
//	+---+----------------------------------+--------------+--------------+
//
// 41 bits of time last until September 2069, 10 bits make 1024 processes at once, 12 bits are 4096 ids a millisecond in
// each. An [ID] prints as 19 decimal digits, so that texts sort as numbers do, and is a text in JSON too: JavaScript's
// numbers would round it.
//
// # Node numbers
//
// A process takes a number by a conditional write of the document snowflake/<number>, which also says up to which
// millisecond it may use the number: its reservation. It never makes an id beyond that, extends it every third of a lease,
// and whoever takes the number next begins behind it. So two processes that believe they hold one number, because one was
// paused, cut off or taken for dead, still make different ids, whatever their clocks say. A process that learns that its
// number is gone takes another.
//
// A number is free again when its process has closed its generator, or when its document has not changed for a lease on
// the observer's own monotonic clock. No wall clocks are compared.
//
// # Clocks
//
// The ids of a generator rise, and never run more than 5 s ahead of its clock: for as long, it borrows from the future
// where the clock stands still, steps back, or gives less than it is asked for; beyond, it waits, and where the clock has
// stepped back farther it takes another number, under which the ids of that time have not been made yet. Ids of different
// processes sort as well as their clocks agree.
//
// The promise rests on the documents. One who restores the backend from a copy and sets the clocks back as well can make
// ids come again.
package snowflake
