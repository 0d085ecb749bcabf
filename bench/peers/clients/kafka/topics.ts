import { Admin } from '@platformatic/kafka'
import type { KafkaTopics } from '../../kafka/topics.js'

/** As many as Millrace's topics have in the bench. */
export const partitions = 8

export const ensureTopic: KafkaTopics['ensureTopic'] = (port, topic) =>
  withAdmin(port, async (admin) => {
    if (!(await admin.listTopics()).includes(topic))
      await admin.createTopics({ topics: [topic], partitions, replicas: 1 })
  })

export const removeTopic: KafkaTopics['removeTopic'] = (port, topic) =>
  withAdmin(port, (admin) => admin.deleteTopics({ topics: [topic] }))

async function withAdmin(port: number, use: (admin: Admin) => Promise<void>): Promise<void> {
  const admin = new Admin({ clientId: 'bench', bootstrapBrokers: [`127.0.0.1:${port}`] })
  try {
    await use(admin)
  } finally {
    await admin.close()
  }
}
