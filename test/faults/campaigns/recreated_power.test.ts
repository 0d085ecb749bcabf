import { testShortCampaign } from '../short_campaign.js'
import { recreatedPower } from './recreated_power.js'

testShortCampaign(recreatedPower)
