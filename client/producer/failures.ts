import { durationText, MillraceError } from '../../protocol/index.js'
import type { Batch } from './batch.js'
import type { PartitionQueue } from './partition_queue.js'

/**
 * The next step for a batch: `none` it is appended, `later` send it again, `moved` send it again after a metadata
 * update,
 * `out_of_order` send it again, perhaps under a new epoch, `too_large` send it again as two, `fenced` and `final` fail
 * it.
 */
export type Refusal = 'none' | 'later' | 'moved' | 'out_of_order' | 'too_large' | 'fenced' | 'final'

export function refusalOf(error: MillraceError | undefined, { deadlineMs, recordCount }: Batch): Refusal {
  if (error === undefined || error.code === 'DUPLICATE_SEQUENCE') return 'none'
  const isLate = deadlineMs <= performance.now()
  switch (error.code) {
    case 'NOT_OWNER':
    case 'UNKNOWN_TOPIC':
      return isLate ? 'final' : 'moved'
    case 'OUT_OF_ORDER_SEQUENCE':
      return isLate ? 'final' : 'out_of_order'
    case 'BATCH_TOO_LARGE':
      return recordCount > 1 ? 'too_large' : 'final'
    case 'PRODUCER_FENCED':
      return 'fenced'
    default:
      return error.retryable && !isLate ? 'later' : 'final'
  }
}

export function deliveryTimeout(
  { topic, partition, settings }: PartitionQueue,
  cause?: MillraceError,
): MillraceError {
  const reason = cause === undefined ? '' : `: ${cause.message}`
  return new MillraceError(
    'DELIVERY_TIMEOUT',
    `the broker did not acknowledge messages for topic "${topic.info.name}", partition ${partition} within ${durationText(settings.deliveryTimeoutMs)}; the outcome is unknown${reason}`,
    { cause },
  )
}

/** The error for the publishers of a failed batch. */
export function finalError(queue: PartitionQueue, recordCount: number, cause: MillraceError): MillraceError {
  if (cause.retryable) return deliveryTimeout(queue, cause)
  if (cause.code !== 'BATCH_TOO_LARGE' || recordCount > 1) return cause
  return new MillraceError(
    'VALUE_TOO_LARGE',
    `a message is too large for topic "${queue.topic.info.name}": ${cause.message}`,
    { cause },
  )
}
