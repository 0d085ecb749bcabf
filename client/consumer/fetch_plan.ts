/** What is known when the next fetch is planned. */
export interface FetchBudget {
  /** Memory for messages that are not delivered, and what is taken of it: buffered, and asked for by open fetches. */
  readonly bufferBytesMax: number
  readonly bufferedBytes: number
  readonly requestedBytes: number
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
 * takes at most half of what is free, so that a long poll of idle partitions never keeps busy ones from fetching. While
 * none is open a small one is always allowed: what fills the memory may be of partitions that are paused.
 */
export function planFetch(budget: FetchBudget, wantedBytes: number): FetchPlan | undefined {
  const { openFetches, openFetchesMax } = budget
  if (openFetches >= openFetchesMax) return undefined
  const freeBytes = budget.bufferBytesMax - budget.bufferedBytes - budget.requestedBytes
  const least = Math.min(fetchBytesMin, wantedBytes, budget.fetchBytesMax)
  const bytesMax = Math.min(wantedBytes, budget.fetchBytesMax, Math.floor(freeBytes / 2))
  if (bytesMax < least && openFetches > 0) return undefined
  const isLastSlot = openFetches === openFetchesMax - 1
  return {
    bytesMax: Math.max(bytesMax, least, 1),
    waitMs: isLastSlot ? Math.min(budget.fetchWaitMs, lastSlotWaitMs) : budget.fetchWaitMs,
  }
}
