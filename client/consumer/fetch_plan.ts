/** What is known when the next fetch is planned. */
export interface FetchBudget {
  /** Memory for messages that are not delivered, and what is taken of it: buffered, and asked for by open fetches. */
  readonly bufferBytesMax: number
  readonly bufferedBytes: number
  readonly requestedBytes: number
  /** Partitions that share it. */
  readonly partitions: number
  readonly fetchBytesMax: number
  readonly fetchWaitMs: number
  readonly openFetches: number
  readonly openFetchesMax: number
}

/** How the next fetch asks. */
export interface FetchPlan {
  readonly bytesMax: number
  readonly waitMs: number
}

/** A partition's share never shrinks below this, whatever their number. */
const shareBytesMin = 64 * 1024
/** A fetch for less is not worth a round trip. */
const fetchBytesMin = 32 * 1024
/** How long the last fetch that may be open waits at most: partitions that get hungry meanwhile wait for its end. */
const lastSlotWaitMs = 20

/** Bytes that one of `partitions` may hold. */
export function shareBytes(bufferBytesMax: number, partitions: number): number {
  return Math.max(Math.floor(bufferBytesMax / Math.max(partitions, 1)), shareBytesMin)
}

/** Whether a partition that has `bufferedBytes` should be fetched: when half of its share is delivered. */
export function isHungry(bufferedBytes: number, share: number): boolean {
  return bufferedBytes * 2 <= share
}

/**
 * Plans a fetch for partitions that want `wantedBytes` together; undefined when there is no room for one now. A fetch
 * takes at most half of what is free, so that a long poll of idle partitions never keeps busy ones from fetching.
 */
export function planFetch(budget: FetchBudget, wantedBytes: number): FetchPlan | undefined {
  const { openFetches, openFetchesMax } = budget
  if (openFetches >= openFetchesMax) return undefined
  const freeBytes = budget.bufferBytesMax - budget.bufferedBytes - budget.requestedBytes
  const bytesMax = Math.min(wantedBytes, budget.fetchBytesMax, Math.floor(freeBytes / 2))
  // With nothing open and nothing buffered the smallest fetch is allowed whatever the budget: or nothing ever comes.
  const idle = openFetches === 0 && budget.bufferedBytes === 0
  if (bytesMax < fetchBytesMin && bytesMax < wantedBytes && !idle) return undefined
  const waitMs =
    openFetches === openFetchesMax - 1 ? Math.min(budget.fetchWaitMs, lastSlotWaitMs) : budget.fetchWaitMs
  return { bytesMax: Math.max(bytesMax, 1), waitMs }
}
