import type { BrokerContext } from '../context.js'

const healthReasonsMax = 10

/** A description with what the broker's own health adds to the reasons why something stands still. */
export function withHealth<T extends { readonly reasons: readonly string[] }>(
  { shard }: BrokerContext,
  description: T,
): T {
  const { status, reasons } = shard.health
  if (status === 'ok') return description
  return { ...description, reasons: [...description.reasons, ...reasons.slice(0, healthReasonsMax)] }
}
