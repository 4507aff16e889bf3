package train

import (
	"sync"
	"sync/atomic"
)

// blockRows is the number of rows that one unit of parallel work holds. Sums over rows are taken per block and the
// blocks added in order, so this constant, and not the number of workers, decides how they round.
const blockRows = 8192

// parallel calls work(i) for every i below n on up to workers goroutines. Each i must write only what is its own.
func parallel(workers, n int, work func(i int)) {
	if workers = min(workers, n); workers <= 1 {
		for i := range n {
			work(i)
		}
		return
	}
	var next atomic.Int64
	var group sync.WaitGroup
	run := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			work(i)
		}
	}
	for range workers - 1 {
		group.Go(run)
	}
	run()
	group.Wait()
}

// blocks calls work with each block of n rows, in parallel.
func blocks(workers, n int, work func(block, from, to int)) {
	parallel(workers, (n+blockRows-1)/blockRows, func(i int) {
		work(i, i*blockRows, min(n, (i+1)*blockRows))
	})
}
