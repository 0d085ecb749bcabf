import type { BrokerContext } from '../context.js'

const healthReasonsMax = 10

/** Adds reasons from the health of the broker to a description. */
export function withHealth<T extends { readonly reasons: readonly string[] }>(
  { shard }: BrokerContext,
  description: T,
): T {
  const { status, reasons } = shard.health
  if (status === 'ok') return description
  return { ...description, reasons: [...description.reasons, ...reasons.slice(0, healthReasonsMax)] }
}
