/** The input for the plan of the next fetch. */
export interface FetchBudget {
  /** Memory for undelivered messages, and its used part: buffered, and requested by open fetches. */
  readonly bufferBytesMax: number
  readonly bufferedBytes: number
  readonly requestedBytes: number
  readonly fetchBytesMax: number
  readonly fetchWaitMs: number
  readonly openFetches: number
  readonly openFetchesMax: number
  /** Whether partitions have waited for memory long enough: the open fetches may all wait for messages. */
  readonly isStarved?: boolean
}

/** The limits of the next fetch. */
export interface FetchPlan {
  readonly bytesMax: number
  readonly waitMs: number
}

/** Minimum share of a partition, whatever their number. */
const shareBytesMin = 64 * 1024
/** A smaller fetch is not worth a round trip. */
const fetchBytesMin = 32 * 1024
/** Longest wait of the last allowed fetch: partitions that get hungry in between wait for its end. */
const lastSlotWaitMs = 20

/** Bytes that one of `partitions` may hold. */
export function shareBytes(bufferBytesMax: number, partitions: number): number {
  return Math.max(Math.floor(bufferBytesMax / Math.max(partitions, 1)), shareBytesMin)
}

/** Whether to fetch a partition that has `bufferedBytes`: once half of its share is delivered. */
export function isHungry(bufferedBytes: number, share: number): boolean {
  return bufferedBytes * 2 <= share
}

/**
 * Plans a fetch for partitions that want `wantedBytes` together; undefined if there is no room for one now. A fetch
 * takes at most half of the free memory, so that a long poll of idle partitions never keeps busy ones from fetching. If
 * none is open, or partitions have starved, a small one is always allowed, because the memory may be full of messages of
 * paused partitions.
 */
export function planFetch(budget: FetchBudget, wantedBytes: number): FetchPlan | undefined {
  const { openFetches, openFetchesMax } = budget
  if (openFetches >= openFetchesMax) return undefined
  const freeBytes = budget.bufferBytesMax - budget.bufferedBytes - budget.requestedBytes
  const least = Math.min(fetchBytesMin, wantedBytes, budget.fetchBytesMax)
  const bytesMax = Math.min(wantedBytes, budget.fetchBytesMax, Math.floor(freeBytes / 2))
  if (bytesMax < least && openFetches > 0 && budget.isStarved !== true) return undefined
  const isLastSlot = openFetches === openFetchesMax - 1
  return {
    bytesMax: Math.max(bytesMax, least, 1),
    waitMs: isLastSlot ? Math.min(budget.fetchWaitMs, lastSlotWaitMs) : budget.fetchWaitMs,
  }
}
