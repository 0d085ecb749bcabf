import { type Client, type Consumer, connect, defineTopic, string } from '../../../client/index.js'
import type { TestContext } from '../../helpers/context.js'
import { waitFor } from '../../helpers/wait_for.js'

export interface GroupPlan {
  readonly server: string
  readonly topic: string
  readonly group: string
  readonly members: number
  readonly partitions: number
  readonly sessionTimeoutMs: number
}

/**
 * Correct members of a stream group, so that none of them has a reason to lose a partition: each message
 * is acknowledged at once. Counts messages by value.
 */
export class SteadyGroup {
  readonly #plan: GroupPlan
  readonly #consumers: readonly Consumer<string, string>[]
  /** Number of deliveries of each value. */
  readonly delivered = new Map<string, number>()
  /** Revoked partitions, one line each. */
  readonly revoked: string[] = []
  readonly #client: Client

  private constructor(plan: GroupPlan, client: Client) {
    this.#plan = plan
    this.#client = client
    const topic = defineTopic(plan.topic, { value: string })
    this.#consumers = Array.from({ length: plan.members }, (_, index) => {
      const consumer = client.consume(topic, {
        group: plan.group,
        from: 'earliest',
        sessionTimeoutMs: plan.sessionTimeoutMs,
        onRevoked: (partitions, { lost }) => {
          const names = partitions.map(({ partition }) => partition).join(', ')
          this.revoked.push(`member ${index} ${lost ? 'lost' : 'gave up'} partitions ${names}`)
        },
      })
      return consumer
    })
  }

  /** Creates the topic; returns when every partition has its final owner. */
  static async start(context: TestContext, plan: GroupPlan): Promise<SteadyGroup> {
    const client = await connect(plan.server)
    context.defer(() => client.close({ timeoutMs: 0 }))
    await client.topics.create(plan.topic, { partitions: plan.partitions })
    const group = new SteadyGroup(plan, client)
    for (const consumer of group.#consumers) void group.#read(consumer).catch(() => {})
    await group.settled()
    return group
  }

  /** Waits until the group is stable with all its members, and clears earlier revocations. */
  async settled(): Promise<void> {
    const { group, members } = this.#plan
    const isSettled = async (): Promise<boolean> => {
      const described = await this.#client.groups.describe(group).catch(() => undefined)
      return (
        described?.state === 'stable' &&
        described.members.length === members &&
        described.partitions.every(({ memberId }) => memberId !== undefined)
      )
    }
    await waitFor(`all ${members} members of ${group} to own their partitions`, isSettled, {
      deadlineMs: 30_000,
    })
    this.revoked.length = 0
  }

  /** The members as the broker knows them; each life of a member has a new id. */
  async memberIds(): Promise<string[]> {
    const { members } = await this.#client.groups.describe(this.#plan.group)
    return members.map(({ memberId }) => memberId).sort()
  }

  async #read(consumer: Consumer<string, string>): Promise<void> {
    for await (const message of consumer) {
      this.delivered.set(message.value, (this.delivered.get(message.value) ?? 0) + 1)
      message.ack()
    }
  }
}
