// Package snowflake generates 64-bit ids that are unique among all processes on one backend and sort by time.
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
// 41 bits of time last until September 2069, 10 bits allow 1024 processes at once, and 12 bits allow 4096 ids per
// millisecond in each. An [ID] prints as 19 decimal digits, so strings sort like numbers. In JSON it is a string,
// because JavaScript's numbers would round it.
//
// # Node numbers
//
// A process claims a node number with a conditional write of the document snowflake/<number>. The document also holds
// a reservation: the last millisecond in which the process may use the number. The process never generates ids beyond
// it, extends it every third of a lease, and the next owner begins after it. Two processes that both believe they own
// a number, because one was paused, partitioned or declared dead, therefore still generate different ids, whatever
// their clocks show. A process that loses its number claims another.
//
// A number is free again when its process closes its generator, or when its document has not changed for one lease on
// the observer's monotonic clock. No wall clocks are compared.
//
// # Clocks
//
// The ids of a generator increase and are at most 5 s ahead of its clock. Within this limit the generator uses future
// milliseconds when the clock stops, is set back, or is too slow for the demand. Beyond it, Next waits. If the clock
// was set back further, the generator claims another number whose ids of that time are unused. Ids of different
// processes sort as well as their clocks agree.
//
// Uniqueness depends on the documents. Restoring the backend from a copy and also setting the clocks back can repeat
// ids.
package snowflake
