import { testShortCampaign } from '../short_campaign.js'
import { queuesPower } from './queues_power.js'

testShortCampaign(queuesPower)
